-- A lease with a fencing token: acquire, keep alive, release.
--
-- KEYS[1] meta   hash, read: epoch
-- KEYS[2] lease  string `<token>:<holder>`, PX
-- KEYS[3] fence  string, the highest token ever given; no expiry
-- ARGV[1] expected epoch  ARGV[2] acquire | renew | release  ARGV[3] holder
-- ARGV[4] token ('' to acquire)  ARGV[5] time to live, ms  ARGV[6] by how much a new token is higher
-- A step that nobody can foresee: a server that lost the last one must not give the same token again.
-- A holder that acquires what it holds already gets a new token: its former self is fenced.
-- Returns {verdict, token}: ok | epoch | schema (as in guard.lua) | held (+ holder) | lost
local epoch, schema, release = unpack(redis.call('HMGET', KEYS[1], 'epoch', 'schema_max', 'schema_release'))
epoch = epoch or ''
if epoch ~= ARGV[1] then return {'epoch', epoch} end
if (tonumber(schema or '1') or math.huge) > SCHEMA then return {'schema', schema, release or ''} end
local token, holder = string.match(redis.call('GET', KEYS[2]) or '', '^(%d+):(.*)$')
if ARGV[2] == 'acquire' then
  if holder and holder ~= ARGV[3] then return {'held', holder} end
  local fresh = string.format('%d', redis.call('INCRBY', KEYS[3], ARGV[6]))
  redis.call('SET', KEYS[2], fresh .. ':' .. ARGV[3], 'PX', ARGV[5])
  return {'ok', fresh}
end
if holder ~= ARGV[3] or token ~= ARGV[4] then return {'lost', token or ''} end
if ARGV[2] == 'renew' then
  redis.call('PEXPIRE', KEYS[2], ARGV[5])
else
  redis.call('DEL', KEYS[2])
end
return {'ok', token}
