"""Guest images: what is on them, and how they live under the real control plane."""
