# Asks a cloud machine's metadata server for credentials.
# expect: error:ImportError
import urllib.request


def g():
    return len(urllib.request.urlopen("http://169.254.169.254/").read())
