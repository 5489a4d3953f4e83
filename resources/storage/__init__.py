"""Where the archive lives: one root, any fsspec URL, objects that are whole or not there at all."""

from resources.storage.archive import ArchiveStorage, Check, FileSystem, ObjectInfo
from resources.storage.paths import checked_path
from resources.storage.root import open_storage

__all__ = ["ArchiveStorage", "Check", "FileSystem", "ObjectInfo", "checked_path", "open_storage"]
