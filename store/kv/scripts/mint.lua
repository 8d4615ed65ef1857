-- A new epoch begins: another history than the last one.
--
-- KEYS[1] meta  KEYS[2] rev  KEYS[3] leader  KEYS[4] fence  KEYS[5] log  KEYS[6] compacted
-- KEYS[7] epochs  hash: epoch -> JSON, the last ones
-- ARGV[1] expected old epoch  ARGV[2] leader's token, '' for a manager that starts its own store
-- ARGV[3] new epoch  ARGV[4] revision to pass  ARGV[5] revisions to leap over
-- ARGV[6] replication id of the server  ARGV[7] about the epoch  ARGV[8] how many epochs to remember (epoch.lua)
-- Returns {verdict, epoch, rev}: ok | epoch | fenced
local epoch = redis.call('HGET', KEYS[1], 'epoch') or ''
local rev = tonumber(redis.call('GET', KEYS[2]) or '0')
if epoch ~= ARGV[1] then return {'epoch', epoch, rev} end
if ARGV[2] ~= '' and not leads(KEYS[3], KEYS[4], ARGV[2]) then return {'fenced', epoch, rev} end
-- The log may be ahead of `rev` where keys were lost one by one.
local last = redis.call('XREVRANGE', KEYS[5], '+', '-', 'COUNT', 1)[1]
local logged = last and tonumber(string.match(last[1], '^(%d+)')) or 0
rev = math.max(rev, logged, tonumber(ARGV[4])) + tonumber(ARGV[5])
local text = string.format('%d', rev)
redis.call('SET', KEYS[2], text)
redis.call('SET', KEYS[6], text)
redis.call('XTRIM', KEYS[5], 'MINID', text .. '-0')
redis.call('HSET', KEYS[1], 'epoch', ARGV[3], 'replid', ARGV[6])
redis.call('HDEL', KEYS[1], 'lost')
begun(KEYS[7], ARGV[3], text, ARGV[7], ARGV[8])
return {'ok', ARGV[3], rev}
