from .config import MemoryFile as MemoryFile, read_memory_file as read_memory_file
