-- The leader removes what is left of a node whose record is gone.
--
-- KEYS[1] meta  KEYS[2] rev  KEYS[3] leader  KEYS[4] fence  (as in txn.lua)
-- KEYS[5] nodes  KEYS[6..] keys of one node
-- ARGV[1] expected epoch  ARGV[2] highest revision seen  ARGV[3] token  ARGV[4] node id
-- Returns {verdict, epoch, rev, how many keys went}: ok | epoch | lost | fenced | schema
local refusal, epoch, rev = guard(KEYS[1], KEYS[2], KEYS[3], KEYS[4], ARGV[1], ARGV[2], ARGV[3])
if refusal then return refusal end
if redis.call('HEXISTS', KEYS[5], ARGV[4]) == 1 then return {'ok', epoch, rev, 0} end
local gone = 0
for i = 6, #KEYS do gone = gone + redis.call('UNLINK', KEYS[i]) end
return {'ok', epoch, rev, gone}
