"""Noise and its removal, whatever the network: noise levels, blur, seeds."""
