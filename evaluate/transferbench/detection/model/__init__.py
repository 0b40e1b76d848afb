"""The network: trunk, pyramid, proposals and region heads, and a checkpoint's weights in them."""
