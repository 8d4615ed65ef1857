-- The leader has looked at the server's history and found nothing missing.
--
-- KEYS[1] meta  KEYS[2] rev  KEYS[3] leader  KEYS[4] fence  (as in txn.lua)
-- ARGV[1] expected epoch  ARGV[2] highest revision seen  ARGV[3] token  ARGV[4] replication id of the server
-- Returns {verdict, epoch, rev}: ok | epoch | lost | fenced | schema
local refusal, epoch, rev = guard(KEYS[1], KEYS[2], KEYS[3], KEYS[4], ARGV[1], ARGV[2], ARGV[3])
if refusal then return refusal end
redis.call('HSET', KEYS[1], 'replid', ARGV[4])
return {'ok', epoch, rev}
