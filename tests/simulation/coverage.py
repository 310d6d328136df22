SITUATIONS: tuple[str, ...] = ()
