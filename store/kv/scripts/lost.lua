-- A reader found that history fell back: nothing is written until the next epoch.
--
-- KEYS[1] meta
-- ARGV[1] the epoch it was found in  ARGV[2] what was found
-- Returns 1 when it was news.
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return 0 end
return redis.call('HSETNX', KEYS[1], 'lost', ARGV[2])
