-- What became of a claim: kept as an answer, or given up; only by who still has it.
--
-- KEYS[1] string, PX
-- ARGV[1] the claim  ARGV[2] the answer, '' to give up  ARGV[3] time to live of the answer, ms
-- Returns 1, or 0 when the claim has expired, or is another's by now
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return 1
