"""Where results go: CSV files, the rendered video, the run's JSON. Context managers, one file each."""

from .csv_sinks import Csv2DSink, Csv3DSink, CsvRawSink
from .run_json import write_run_json
from .video import VideoSink

__all__ = ["Csv2DSink", "Csv3DSink", "CsvRawSink", "VideoSink", "write_run_json"]
