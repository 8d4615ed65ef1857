-- The leader says which servers of files one node may connect to just now, and wakes it.
--
-- KEYS[1] meta  KEYS[2] rev  KEYS[3] leader  KEYS[4] fence  (as in txn.lua)
-- KEYS[5] grant    string of one node, JSON: store/model/turns.py
-- KEYS[6] wake     stream, a hint
-- ARGV[1] expected epoch  ARGV[2] highest revision seen  ARGV[3] token (never empty)
-- ARGV[4] what it is to say; '' for nothing: the key goes
-- ARGV[5] '1' to wake the node
-- The revision stays: what must not be forgotten of it lies in `downloads`, written before.
-- Returns {verdict, epoch, rev}: ok | epoch | lost | fenced | schema
local refusal, epoch, rev = guard(KEYS[1], KEYS[2], KEYS[3], KEYS[4], ARGV[1], ARGV[2], ARGV[3])
if refusal then return refusal end
if ARGV[4] == '' then
  redis.call('DEL', KEYS[5])
else
  redis.call('SET', KEYS[5], ARGV[4])
end
if ARGV[5] == '1' then
  redis.call('XADD', KEYS[6], 'MAXLEN', '8', '*', 'grant', '1')
end
return {'ok', epoch, rev}
