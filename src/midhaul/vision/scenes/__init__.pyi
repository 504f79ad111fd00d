from .scene import Scene as Scene, make_scene as make_scene
