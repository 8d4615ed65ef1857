-- One transaction: compare mod revisions, then put and delete, all under one new revision.
--
-- KEYS[1] meta      hash, read: epoch
-- KEYS[2] rev       string, raised by one
-- KEYS[3] log       stream, one entry per change: c(ollection), f(ield), op
-- KEYS[4] leader    string `<token>:<holder>`, read
-- KEYS[5] fence     string, highest token, read
-- KEYS[6..]         per collection: its hash, its hash of mod revisions
-- KEYS[..]          per collection whose index changes: its index, a sorted set of lines
-- KEYS[#KEYS]       compacted, see compact.lua
-- ARGV[1] expected epoch      ARGV[2] highest revision seen     ARGV[3] leader's token or ''
-- ARGV[4] number of compares  ARGV[5] number of changes
-- then compares: collection number (1..), field, expected mod revision (0: absent)
-- then changes:  collection number, name, 'put' | 'del', field, value
-- then how many entries the log may have, above the 512 of one transaction
-- then the number of lines; then lines: number of its key in KEYS, 'put' | 'del', text
-- Returns {verdict, epoch, rev, ...}: ok | epoch | lost | fenced | schema | conflict (+ number, field, actual)
local refusal, epoch, rev = guard(KEYS[1], KEYS[2], KEYS[4], KEYS[5], ARGV[1], ARGV[2], ARGV[3])
if refusal then return refusal end
local at = 6
for _ = 1, tonumber(ARGV[4]) do
  local number, field, expected = tonumber(ARGV[at]), ARGV[at + 1], ARGV[at + 2]
  local actual = redis.call('HGET', KEYS[5 + 2 * number], field) or '0'
  if actual ~= expected and expected == '0' and redis.call('HEXISTS', KEYS[4 + 2 * number], field) == 0 then
    actual = '0' -- somebody deleted the record by hand, and left its revision: readers see none
  end
  if actual ~= expected then return {'conflict', epoch, rev, number, field, actual} end
  at = at + 3
end
rev = rev + 1
local changes, first = tonumber(ARGV[5]), at
for n = 1, changes do
  -- Refused when the log is ahead of `rev`: before anything was written.
  redis.call('XADD', KEYS[3], string.format('%d-%d', rev, n), 'c', ARGV[at + 1], 'f', ARGV[at + 3], 'op', ARGV[at + 2])
  at = at + 5
end
at = first
for _ = 1, changes do
  local number, field = tonumber(ARGV[at]), ARGV[at + 3]
  local records, revisions = KEYS[4 + 2 * number], KEYS[5 + 2 * number]
  if ARGV[at + 2] == 'put' then
    redis.call('HSET', records, field, ARGV[at + 4])
    redis.call('HSET', revisions, field, string.format('%d', rev))
  else
    redis.call('HDEL', records, field)
    redis.call('HDEL', revisions, field)
  end
  at = at + 5
end
redis.call('SET', KEYS[2], string.format('%d', rev))
local most = tonumber(ARGV[at])
at = at + 2
for _ = 1, tonumber(ARGV[at - 1]) do
  if ARGV[at + 1] == 'put' then
    redis.call('ZADD', KEYS[tonumber(ARGV[at])], 0, ARGV[at + 2])
  else
    redis.call('ZREM', KEYS[tonumber(ARGV[at])], ARGV[at + 2])
  end
  at = at + 3
end
-- The leader compacts by revisions; this bound by entries holds while nobody leads, too.
if rev % 64 == 0 and redis.call('XLEN', KEYS[3]) > most then
  redis.call('XTRIM', KEYS[3], 'MAXLEN', most)
  local oldest = redis.call('XRANGE', KEYS[3], '-', '+', 'COUNT', 1)[1][1]
  local cut = tonumber(string.match(oldest, '^(%d+)-'))
  redis.call('SET', KEYS[#KEYS], string.format('%d', cut))
  redis.call('XTRIM', KEYS[3], 'MINID', string.format('%d-0', cut + 1))
end
return {'ok', epoch, rev}
