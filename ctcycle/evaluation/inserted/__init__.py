"""Where the insertion bench puts lesions, and what it keeps of the responses."""
