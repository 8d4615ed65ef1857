"""What etcd's users build on leases and watches: leadership, presence."""
