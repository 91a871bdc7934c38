"""The Android emulator of the SDK: its console, its virtual devices (AVDs), and running instances."""
