"""The two ways to the network: APIs by ``ApiClient``, pictures by ``ImageFetcher``. All else is behind them."""

from minimagen.sources.api_client import ApiAnswer, ApiClient, ApiError
from minimagen.sources.image_fetcher import ImageFetcher
from minimagen.sources.outcomes import Fetched, Postponed, Refused

__all__ = ["ApiAnswer", "ApiClient", "ApiError", "Fetched", "ImageFetcher", "Postponed", "Refused"]
