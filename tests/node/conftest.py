"""The tests of the node need its extra."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("pynetdicom") and find_spec("dicomweb_client") else ["*"]
