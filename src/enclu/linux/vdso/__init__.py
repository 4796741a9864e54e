"""The vDSO images that programs get in place of the host kernel's own."""
