"""Files elsewhere: read and written over SFTP, read over HTTP and on this machine."""
