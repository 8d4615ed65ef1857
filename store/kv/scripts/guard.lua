-- What every write asks first; prepended to the scripts that use it.
--
-- guard(meta, rev, leader, fence, epoch, seen, token) gives a refusal {verdict, epoch, rev}, or nil,
-- the epoch and the revision. `token` is '' for writers that need not lead.
-- Verdicts: epoch (another history) | lost (this one fell back) | fenced (somebody else leads)
-- | schema (records that the caller does not read; + highest schema, release). SCHEMA is put before us.
local function guard(meta, rev_key, leader, fence, expected, seen, token)
  local epoch, schema, release = unpack(redis.call('HMGET', meta, 'epoch', 'schema_max', 'schema_release'))
  epoch = epoch or ''
  local rev = tonumber(redis.call('GET', rev_key) or '0')
  if epoch ~= expected then return {'epoch', epoch, rev} end
  if (tonumber(schema or '1') or math.huge) > SCHEMA then return {'schema', schema, release or ''} end
  if rev < tonumber(seen) then return {'lost', epoch, rev} end
  if token ~= '' then
    local held = string.match(redis.call('GET', leader) or '', '^(%d+):')
    if held ~= token or redis.call('GET', fence) ~= token then return {'fenced', epoch, rev} end
  end
  return nil, epoch, rev
end
