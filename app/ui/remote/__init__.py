"""Other machines whose models answer in the chat: the list of them, one being added or changed."""
