-- A new epoch begins: another history than the last one.
--
-- KEYS[1] meta  KEYS[2] rev
-- ARGV[1] expected old epoch  ARGV[2] new epoch  ARGV[3] revisions to leap over
-- Returns {verdict, epoch, rev}: ok | epoch
local epoch = redis.call('HGET', KEYS[1], 'epoch') or ''
local rev = tonumber(redis.call('GET', KEYS[2]) or '0')
if epoch ~= ARGV[1] then return {'epoch', epoch, rev} end
rev = rev + tonumber(ARGV[3])
redis.call('SET', KEYS[2], string.format('%d', rev))
redis.call('HSET', KEYS[1], 'epoch', ARGV[2])
return {'ok', ARGV[2], rev}
