-- Forget the log up to a revision; watchers below it are told so.
--
-- KEYS[1] meta  KEYS[2] rev  KEYS[3] compacted  KEYS[4] log
-- ARGV[1] expected epoch  ARGV[2] last revision to forget
-- Returns {verdict, compacted}: ok | epoch
local epoch = redis.call('HGET', KEYS[1], 'epoch') or ''
if epoch ~= ARGV[1] then return {'epoch', epoch} end
local rev = tonumber(redis.call('GET', KEYS[2]) or '0')
local compacted = tonumber(redis.call('GET', KEYS[3]) or '0')
local upto = math.min(tonumber(ARGV[2]), rev)
if upto <= compacted then return {'ok', compacted} end
redis.call('SET', KEYS[3], string.format('%d', upto))
redis.call('XTRIM', KEYS[4], 'MINID', string.format('%d-0', upto + 1))
return {'ok', upto}
