package module

const Big int = 1 << 40
