-- `muster recover` gives a store back what was deleted of its head; its records are still there.
--
-- KEYS[1] meta  KEYS[2] rev
-- ARGV[1] a revision  ARGV[2] cluster id  ARGV[3] what was lost, as text
-- then pairs of field and value for meta; what it has, it keeps
-- It is marked as lost: nothing is written until the next epoch has begun (mint.lua).
-- Returns 1 when it did, 0 when the head is whole, or another cluster's.
local cluster, epoch = unpack(redis.call('HMGET', KEYS[1], 'cluster', 'epoch'))
if cluster and cluster ~= ARGV[2] then return 0 end
if cluster and epoch and redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
for i = 4, #ARGV, 2 do redis.call('HSETNX', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('HSET', KEYS[1], 'lost', ARGV[3])
redis.call('SETNX', KEYS[2], ARGV[1])
return 1
