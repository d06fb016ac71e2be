"""Diffusion: noise laws, losses and samplers. The network is any callable; nothing here knows how it is built."""
