-- The first manager, or `muster recover`, gives an empty store its cluster id and epoch. Never overwrites.
--
-- KEYS[1] meta  KEYS[2] rev  KEYS[3] epochs
-- ARGV[1] first revision  ARGV[2] JSON object about the epoch, without `rev` and `began`
-- then pairs of field and value for meta; the first pair is the epoch
-- Returns 1 when it did, 0 when there was a store already.
if redis.call('EXISTS', KEYS[1]) == 1 or redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV, 3))
redis.call('SET', KEYS[2], ARGV[1])
local began = redis.call('TIME')[1]
redis.call('HSET', KEYS[3], ARGV[4], '{"rev":' .. ARGV[1] .. ',"began":' .. began .. ',' .. string.sub(ARGV[2], 2))
return 1
