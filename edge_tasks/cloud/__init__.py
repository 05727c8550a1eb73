"""Google's services, and the emulator in their place. The SDK's classes and its errors stay inside this package."""
