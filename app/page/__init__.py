"""The page: one file a tab, one for its looks, one for what keeps strangers out."""
