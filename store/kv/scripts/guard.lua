-- What every write asks first; prepended to the scripts that use it (`SHARED` in store/kv/lua.py).
--
-- guard(meta, rev, leader, fence, epoch, seen, token) gives a refusal {verdict, epoch, rev, why}, or nil,
-- the epoch and the revision. `token` is '' for writers that need not lead.
-- Verdicts: epoch (another history) | lost (this one fell back) | fenced (somebody else leads)
-- | schema (records that the caller does not read; + highest schema, release). SCHEMA is put before us.
-- Who finds that history fell back says so in `lost` of meta: from then on nothing is written, by anybody,
-- until the leader has begun the next epoch (mint.lua).
local function leads(leader, fence, token)
  local held = string.match(redis.call('GET', leader) or '', '^(%d+):')
  return held == token and redis.call('GET', fence) == token
end

local function guard(meta, rev_key, leader, fence, expected, seen, token)
  local epoch, lost, schema, release =
    unpack(redis.call('HMGET', meta, 'epoch', 'lost', 'schema_max', 'schema_release'))
  epoch = epoch or ''
  local rev = tonumber(redis.call('GET', rev_key) or '0')
  if epoch ~= expected then return {'epoch', epoch, rev} end
  if (tonumber(schema or '1') or math.huge) > SCHEMA then return {'schema', schema, release or ''} end
  if rev < tonumber(seen) and not lost then
    lost = string.format('it fell back to revision %d from %s', rev, seen)
    redis.call('HSET', meta, 'lost', lost)
  end
  if lost then return {'lost', epoch, rev, lost} end
  if token ~= '' and not leads(leader, fence, token) then
    redis.call('HINCRBY', meta, 'fenced', 1)
    return {'fenced', epoch, rev}
  end
  return nil, epoch, rev
end
