"""What manager and agent share: records, and etcd's promises on Redis."""
