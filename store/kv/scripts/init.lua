-- The first manager gives an empty store its cluster id and first epoch. Never overwrites.
--
-- KEYS[1] meta  KEYS[2] rev
-- ARGV: pairs of field and value for meta
-- Returns 1 when it did, 0 when there was a store already.
if redis.call('EXISTS', KEYS[1]) == 1 or redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV))
redis.call('SET', KEYS[2], '0')
return 1
