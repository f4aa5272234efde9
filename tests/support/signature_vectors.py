"""The signatures that the exchange's documentation works out (rest-api.md, web-socket-api.md, fix-api.md)."""

from __future__ import annotations

from fortctl.model import KeyPair, KeyType
from fortctl.secret import Secret

# The documentation's own example key (api_key_types.md, rest-api.md, web-socket-api.md).
API = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
HMAC = KeyPair(
    "doc", KeyType.HMAC, Secret(API), Secret("NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j")
)
PEM = (
    "-----BEGIN PRIVATE KEY-----\n"
    "MC4CAQAwBQYDK2VwBCIEIIJEYWtGBrhACmb9Dvy+qa8WEf0lQOl1s4CLIAB9m89u\n"
    "-----END PRIVATE KEY-----\n"
)
ED25519 = KeyPair("doc", KeyType.ED25519, Secret(API), Secret(PEM))
REST = "side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559"
WIDE = "１２３４５６"

# The key, what is signed, the signature.
REST_VECTORS: list[tuple[KeyPair, bytes, str]] = [
    (HMAC, f"symbol=LTCBTC&{REST}".encode(), "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"),
    (
        HMAC,
        f"symbol=%EF%BC%91%EF%BC%92%EF%BC%93%EF%BC%94%EF%BC%95%EF%BC%96&{REST}".encode(),
        "e1353ec6b14d888f1164ae9af8228a3dbd508bc82eb867db8ab6046442f33ef3",
    ),
    (
        ED25519,
        b"A\x01EXAMPLE\x01SPOT\x011\x0120240627-11:17:25.223",
        "4MHXelVVcpkdwuLbl6n73HQUXUf1dse2PCgT1DYqW9w8AVZ1RACFGM+5UdlGPrQHrgtS3CvsRURC1oj73j8gCA==",
    ),
    (
        ED25519,
        b"symbol=BTCUSDT&side=SELL&type=LIMIT&timeInForce=GTC&quantity=1&price=0.2&timestamp=1668481559918"
        b"&recvWindow=5000",
        "inDT086KVIP8vgUfw5sV3VTkescWztiAGlf4x8FLKHM4NInsn0c1kYVLoGMO8cyjfR6vmTku2YQE0gtfVVlfCw==",
    ),
]

# Parameters of an order beside those of every one, and the signature.
SOCKET_COMMON = {"apiKey": API, "timeInForce": "GTC", "timestamp": 1645423376532, "type": "LIMIT"}
SOCKET_VECTORS: list[tuple[dict[str, str | int], str]] = [
    (
        {"symbol": "BTCUSDT", "side": "SELL", "price": "52000.00", "quantity": "0.01000000", "recvWindow": 100},
        "aa1b5712c094bc4e57c05a1a5c1fd8d88dcd628338ea863fec7b88e59fe2db24",
    ),
    (
        {"symbol": WIDE, "side": "BUY", "price": "0.10000000", "quantity": "1.00000000", "recvWindow": 5000},
        "b33892ae8e687c939f4468c6268ddd4c40ac1af18ad19a064864c47bae0752cd",
    ),
]
