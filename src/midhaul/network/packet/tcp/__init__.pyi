from .simulation import begin_tcp as begin_tcp
