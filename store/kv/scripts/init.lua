-- The first manager, or `muster recover`, gives an empty store its cluster id and epoch. Never overwrites.
--
-- KEYS[1] meta  KEYS[2] rev  KEYS[3] epochs
-- ARGV[1] epoch  ARGV[2] first revision  ARGV[3] about the epoch  ARGV[4] how many epochs to remember (epoch.lua)
-- then pairs of field and value for meta
-- Returns 1 when it did, 0 when there was a store already.
if redis.call('EXISTS', KEYS[1]) == 1 or redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], unpack(ARGV, 5))
redis.call('SET', KEYS[2], ARGV[2])
begun(KEYS[3], ARGV[1], ARGV[2], ARGV[3], ARGV[4])
return 1
