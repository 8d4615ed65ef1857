-- The leader lifts `rev` above a revision that some node has obeyed.
--
-- KEYS[1] meta  KEYS[2] rev  KEYS[3] leader  KEYS[4] fence  (as in txn.lua)
-- ARGV[1] expected epoch  ARGV[2] highest revision seen  ARGV[3] token  ARGV[4] the revision to pass
-- Returns {verdict, epoch, rev}: ok | epoch | lost | fenced
local epoch = redis.call('HGET', KEYS[1], 'epoch') or ''
local rev = tonumber(redis.call('GET', KEYS[2]) or '0')
if epoch ~= ARGV[1] then return {'epoch', epoch, rev} end
if rev < tonumber(ARGV[2]) then return {'lost', epoch, rev} end
local held = string.match(redis.call('GET', KEYS[3]) or '', '^(%d+):')
if held ~= ARGV[3] or redis.call('GET', KEYS[4]) ~= ARGV[3] then return {'fenced', epoch, rev} end
rev = math.max(rev, tonumber(ARGV[4]))
redis.call('SET', KEYS[2], string.format('%d', rev))
return {'ok', epoch, rev}
