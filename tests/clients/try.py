"""Lists shares, writes, reads and deletes with a client, as JSON: try.py CLIENT PORT USER PASSWORD SHARE."""
import io
import json
import sys

HOST = "127.0.0.1"
DATA = bytes(range(256)) * 300


def impacket(port, user, password, share):
    from impacket.smbconnection import SMBConnection

    conn = SMBConnection(HOST, HOST, sess_port=port)
    conn.login(user, password)
    shares = [it["shi1_netname"].rstrip("\0") for it in conn.listShares()]
    conn.putFile(share, "impacket.bin", io.BytesIO(DATA).read)
    got = io.BytesIO()
    conn.getFile(share, "impacket.bin", got.write)
    names = [it.get_longname() for it in conn.listPath(share, "*")]
    conn.deleteFile(share, "impacket.bin")
    conn.logoff()
    return shares, got.getvalue(), names


def pysmb(port, user, password, share):
    from smb.SMBConnection import SMBConnection

    conn = SMBConnection(user, password, "client", "SERVER", use_ntlm_v2=True, is_direct_tcp=True)
    assert conn.connect(HOST, port), "no login"
    shares = [it.name for it in conn.listShares()]
    conn.storeFile(share, "pysmb.bin", io.BytesIO(DATA))
    got = io.BytesIO()
    conn.retrieveFile(share, "pysmb.bin", got)
    names = [it.filename for it in conn.listPath(share, "/")]
    conn.deleteFiles(share, "pysmb.bin")
    conn.close()
    return shares, got.getvalue(), names


def smbprotocol(port, user, password, share):
    import smbclient

    smbclient.register_session(HOST, username=user, password=password, port=port)
    path = rf"\\{HOST}\{share}\smbprotocol.bin"
    with smbclient.open_file(path, mode="wb", port=port) as file:
        file.write(DATA)
    with smbclient.open_file(path, mode="rb", port=port) as file:
        got = file.read()
    names = smbclient.listdir(rf"\\{HOST}\{share}", port=port)
    smbclient.remove(path, port=port)
    # It has no calls of its own on pipes.
    return None, got, names


def main():
    client, port, user, password, share = sys.argv[1:]
    shares, got, names = globals()[client](int(port), user, password, share)
    json.dump({"shares": shares, "same": got == DATA, "names": names}, sys.stdout)


main()
