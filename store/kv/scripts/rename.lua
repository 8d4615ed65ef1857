-- A store in which nothing was ever kept is given another cluster id; `mint` gives it its epoch.
--
-- KEYS[1] meta  KEYS[2..] the collections that must be empty
-- ARGV[1] expected epoch  ARGV[2] cluster id
-- Returns {verdict, epoch}: ok | epoch | kept
local epoch = redis.call('HGET', KEYS[1], 'epoch') or ''
if epoch ~= ARGV[1] then return {'epoch', epoch} end
for i = 2, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 1 then return {'kept', epoch} end
end
redis.call('HSET', KEYS[1], 'cluster', ARGV[2])
return {'ok', epoch}
