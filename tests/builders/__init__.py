"""What several tests build upon: servers, workspaces, small files. A test imports from here, never from another test."""
