"""What answers for a layer: functions of arrays, or a module of a framework made into them."""
