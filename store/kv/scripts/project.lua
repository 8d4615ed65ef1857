-- The leader writes what one node should run, and wakes it.
--
-- KEYS[1] meta  KEYS[2] rev  KEYS[3] leader  KEYS[4] fence  (as in txn.lua)
-- KEYS[5] desired  hash of one node: allocation id -> JSON; @rev, @epoch, @node
-- KEYS[6] wake     stream, a hint
-- ARGV[1] expected epoch  ARGV[2] highest revision seen  ARGV[3] token (never empty)
-- ARGV[4] node uid        ARGV[5] number of puts
-- then puts: allocation id, JSON object without `rev` (it is put in here)
-- then the ids to delete
-- Entries meant for another uid are dropped as a whole: they are not this machine's.
-- Returns {verdict, epoch, rev}: ok | epoch | lost | fenced | schema
local refusal, epoch, rev = guard(KEYS[1], KEYS[2], KEYS[3], KEYS[4], ARGV[1], ARGV[2], ARGV[3])
if refusal then return refusal end
rev = rev + 1
local text = string.format('%d', rev)
local node = redis.call('HGET', KEYS[5], '@node')
if node and node ~= ARGV[4] then redis.call('DEL', KEYS[5]) end
local at, puts = 6, tonumber(ARGV[5])
for _ = 1, puts do
  redis.call('HSET', KEYS[5], ARGV[at], '{"rev":' .. text .. ',' .. string.sub(ARGV[at + 1], 2))
  at = at + 2
end
for i = at, #ARGV do redis.call('HDEL', KEYS[5], ARGV[i]) end
redis.call('HSET', KEYS[5], '@rev', text, '@epoch', epoch, '@node', ARGV[4])
redis.call('XADD', KEYS[6], 'MAXLEN', '8', '*', 'rev', text)
redis.call('SET', KEYS[2], text)
return {'ok', epoch, rev}
