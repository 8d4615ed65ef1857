"""What a machine is and how busy: psutil's figures, and what the kernel and the firmware say of it."""
