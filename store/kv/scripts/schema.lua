-- A manager is about to write records of a later schema than any so far. Never goes back.
--
-- KEYS[1] meta
-- ARGV[1] expected epoch  ARGV[2] the schema  ARGV[3] the release that writes it
-- Returns {verdict, epoch, rev}: ok | epoch
local epoch = redis.call('HGET', KEYS[1], 'epoch') or ''
if epoch ~= ARGV[1] then return {'epoch', epoch, 0} end
if tonumber(redis.call('HGET', KEYS[1], 'schema_max') or '1') < tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[1], 'schema_max', ARGV[2], 'schema_release', ARGV[3])
end
return {'ok', epoch, 0}
