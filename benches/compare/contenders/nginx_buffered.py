"""nginx with a buffered log: cheaper, and its kill loses up to 64 KiB of lines for each worker."""

from contenders import nginx


class Contender(nginx.Contender):
    log_options = " buffer=64k flush=1s"
