namespace jade {}
