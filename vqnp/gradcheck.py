gradcheck = gradcheck_module = surrogate_check = None
