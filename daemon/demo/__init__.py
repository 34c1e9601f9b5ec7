"""What `kopru demo` needs beside the daemon itself: a study that is nobody's."""
