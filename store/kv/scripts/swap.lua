-- A restored state takes the place of the living one, under a new epoch, all at once.
--
-- KEYS[1] meta  KEYS[2] rev  KEYS[3] epochs  KEYS[4] leader  KEYS[5] restoring (whose turn it is)
-- ARGV[1] expected epoch ('' where there is none)  ARGV[2] new epoch  ARGV[3] revision to pass
-- ARGV[4] revisions to leap over  ARGV[5] prefix of all keys  ARGV[6] prefix of the staged ones
-- ARGV[7] how many are staged  ARGV[8] token of the restore
-- ARGV[9] about the epoch  ARGV[10] how many epochs to remember (epoch.lua)
-- ARGV[11] number of keys that stay as they are, then these; then pairs of field and value for meta
-- A node's keys stay, but for `desired`: they are its own words. Leases and fences stay.
-- Returns {verdict, epoch, rev}: ok | epoch | lost (the staged keys or the turn are gone)
local epoch = redis.call('HGET', KEYS[1], 'epoch') or ''
local rev = tonumber(redis.call('GET', KEYS[2]) or '0')
if epoch ~= ARGV[1] then return {'epoch', epoch, rev} end
local prefix, staging, kept, at = ARGV[5], ARGV[6], {}, 12
for _ = 1, tonumber(ARGV[11]) do
  kept[ARGV[at]] = true
  at = at + 1
end
local staged, old = {}, {}
for _, key in ipairs(redis.call('KEYS', string.gsub(prefix, '[%*%?%[%]\\]', '\\%0') .. '*')) do
  local name = string.sub(key, #prefix + 1)
  if string.sub(key, 1, #staging) == staging then
    staged[#staged + 1] = key
  elseif string.sub(name, 1, 3) == 'n:{' then
    if string.sub(name, -9) == '}:desired' then old[#old + 1] = key end
  elseif not kept[key] and string.match(name, '^[^:]+') ~= 'fence' and string.match(name, '^[^:]+') ~= 'restoring' then
    old[#old + 1] = key
  end
end
if #staged ~= tonumber(ARGV[7]) or redis.call('GET', KEYS[5]) ~= ARGV[8] then return {'lost', epoch, rev} end
for _, key in ipairs(old) do redis.call('UNLINK', key) end
for _, key in ipairs(staged) do
  local target = prefix .. string.sub(key, #staging + 1)
  redis.call('RENAME', key, target)
  redis.call('PERSIST', target)
end
rev = math.max(rev, tonumber(ARGV[3])) + tonumber(ARGV[4])
local text = string.format('%d', rev)
redis.call('SET', KEYS[2], text)
redis.call('HDEL', KEYS[1], 'lost')
for i = at, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('HSET', KEYS[1], 'epoch', ARGV[2])
begun(KEYS[3], ARGV[2], text, ARGV[9], ARGV[10])
redis.call('DEL', KEYS[4], KEYS[5])
return {'ok', ARGV[2], rev}
